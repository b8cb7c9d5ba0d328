# One miss, the rest hits; the same as JSON.
rpool load 'toy?load_ms=20&memory_bytes=64MiB' --engine simulated --repeat 10
rpool load 'toy?memory_bytes=1' --engine simulated --repeat=3 --json
