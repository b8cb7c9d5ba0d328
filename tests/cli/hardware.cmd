# What a machine has, as a table: eight of a kind, one with troubles and processes, one that shares its memory.
cd "$ROOT/tests/machines"
rpool hardware --simulate 8xh100.json
rpool hardware --simulate hot-a40.json | head -8
rpool hardware --simulate h100-mig.json | sed -n 4,10p
rpool hardware --simulate broken-driver.json | sed -n 4,6p
rpool hardware --simulate container-2gib.json | sed -n 2,4p
rpool hardware --simulate arc-npu.json | head -12
RESOURCE_POOL_SIMULATE=laptop.json rpool hardware | tail -4
rpool hardware --simulate m3.json --json | python3 -c 'import json, sys
snapshot = json.load(sys.stdin)
for device in snapshot["devices"]:
    print([device[key] for key in ("id", "kind", "name", "available", "simulated", "memory_bytes_total", "memory_bytes_free")])
print([absence["kind"] for absence in snapshot["absent"] if absence["reason"]])
print(snapshot["detect_ms"] >= 0, snapshot["probe_ms"])'
rpool hardware --simulate nowhere.json 2>&1
echo "exit $?"
# The table of a machine that is read back from its own JSON is the same.
rpool hardware --json --simulate 4xa10g.json > /tmp/rp-cli-hardware.json
rpool hardware --simulate 4xa10g.json | grep -v detected > /tmp/rp-cli-hardware.txt
rpool hardware --simulate /tmp/rp-cli-hardware.json | grep -v detected | cmp - /tmp/rp-cli-hardware.txt && echo same
rm /tmp/rp-cli-hardware.json /tmp/rp-cli-hardware.txt
