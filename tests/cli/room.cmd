# Two of 1 GiB are held in a budget of 2 GiB: the third is told by whom.
"$ROOT"/build/examples/room
# A budget from the environment: what can never fit says so, with exit code 4.
RESOURCE_POOL_BUDGET=1GiB rpool load "big?memory_bytes=2GiB" --engine simulated; echo "exit $?"
RESOURCE_POOL_BUDGET=lots rpool load "big?memory_bytes=2GiB" --engine simulated; echo "exit $?"
