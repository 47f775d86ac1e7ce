"""Prints what is wanted of a genai-prices wheel as JSON. Its data is Python source, which is read and never run."""

import ast
import datetime
import json
import sys
import zipfile


def value(node):
    match node:
        case ast.Constant():
            return node.value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {value(key): value(item) for key, item in zip(keys, values)}
        case ast.Call(func=ast.Name(id="Decimal"), args=[number]):
            return str(value(number))
        case ast.Call(func=function, args=arguments, keywords=fields):
            called = {"is": ast.unparse(function).split(".")[-1]}
            if arguments:
                called["args"] = [value(argument) for argument in arguments]
            return called | {field.arg: value(field.value) for field in fields}
        case other:
            return ast.unparse(other)


wheel = zipfile.ZipFile(sys.argv[1])
[licence] = [name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
[providers] = [
    statement.value
    for statement in ast.parse(wheel.read("genai_prices/data.py")).body
    if isinstance(statement, ast.AnnAssign) and statement.target.id == "providers"
]
json.dump(
    {
        "version": licence.split("-")[1].removesuffix(".dist"),
        "licence": wheel.read(licence).decode(),
        "today": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "providers": value(providers),
    },
    sys.stdout,
)
