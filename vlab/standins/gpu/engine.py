"""A model in the stand-in GPU's memory: ``engine.py SOCKET ALIAS CONTEXT SITE WEIGHTS``.

llama.cpp's server, in a process of its own so that its memory is given back when it is unloaded.
It listens on the unix socket SOCKET, answers under the name ALIAS, and says ``ready`` when it can
be asked. One sequence at a time, one thread: the computer's cores belong to the lab's machine.
"""

import sys
import threading
from importlib import import_module


def main() -> None:
    """Load the model and serve until killed."""
    path, alias, context, site, weights = sys.argv[1:6]
    sys.path.insert(0, site)
    # By name: there is no type information, and no such package where only tests run.
    llama = import_module("xllamacpp")
    params = llama.CommonParams()
    params.model.path = weights
    params.model_alias = {alias}
    params.hostnames = [path]
    params.load_mode = llama.llama_load_mode.LLAMA_LOAD_MODE_NONE  # into memory: it is counted
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 4
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = 256
    params.warmup = params.fit_params = params.ui = params.endpoint_slots = False
    params.cache_ram_mib = params.n_ctx_checkpoints = 0
    params.endpoint_metrics = True
    params.sampling.temp = 0.0
    params.verbosity = 0
    server = llama.Server(params)  # as long as there is a name for it, it serves
    print("ready", flush=True)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
