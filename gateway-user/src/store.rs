//! Finished and running workflows, in memory.
