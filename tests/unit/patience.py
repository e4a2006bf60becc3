"""How long tests wait for what has to come. It says nothing of how quick that is."""

PATIENCE = 500.0  # seconds: only what hangs takes so long, on however busy a machine
