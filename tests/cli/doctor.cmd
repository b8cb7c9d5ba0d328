# Every component does real work; a full disk is told.
rpool doctor
echo "exit $?"
rpool doctor --json --test pool
rpool version
rpool version --json > /dev/full
echo "exit $?"
rpool hardware --json | python3 -c 'import json, sys
snapshot = json.load(sys.stdin)
cpu = snapshot["devices"][0]
print(cpu["id"], cpu["kind"], cpu["available"], cpu["simulated"], cpu["memory_bytes_total"] > 0)
print(len(snapshot["absent"]), snapshot["detect_ms"] >= 0)'
