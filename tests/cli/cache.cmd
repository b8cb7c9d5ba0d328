# What a CI keeps between runs: a folder, a key, and what is in it.
folder=$(mktemp -d)
unset RESOURCE_POOL_HISTORY RESOURCE_POOL_RUNS
export XDG_CACHE_HOME="$folder" RESOURCE_POOL_MACHINE=runners HARDWARE_DETECTION_CACHE=off RESOURCE_POOL_SHARE=process
t() { rpool "$@" 2>&1 | sed "s,$folder,CACHE,"; }
t cache
rpool load 'm?memory_bytes=1MiB' --engine simulated >/dev/null
rpool load 'n?memory_bytes=1MiB' --engine simulated >/dev/null
RESOURCE_POOL_MACHINE=another rpool load 'n?memory_bytes=1MiB' --engine simulated >/dev/null
rpool run --share process -- true
t cache
# The key is of the machine and of the format, not of what is in there.
[ "$(rpool cache --key)" = "$(RESOURCE_POOL_HISTORY=off rpool cache --key)" ] && echo the same key
[ "$(rpool cache --key)" = "$(RESOURCE_POOL_MACHINE=another rpool cache --key)" ] || echo another key
t cache --folder
rpool cache --json | grep -E '"(rows|rows_here)"'
echo damaged >"$folder/resourcepool/history.sqlite.damaged-1"
printf '{"format": 1, "runs": {"0123456789abcdef": {"process_bytes_peak": 5, "seconds": 1000000000}}}' >"$folder/resourcepool/runs.json"
t cache --prune
t cache --prune --json
ls "$folder/resourcepool"
# What is damaged goes, and what is not stays.
echo '{' >"$folder/resourcepool/runs.json"
echo '{' >"$folder/resourcepool/hardware.json"
HARDWARE_DETECTION_CACHE="$folder/resourcepool/hardware.json" t cache --prune
rpool run --share process -- true
HARDWARE_DETECTION_CACHE="$folder/resourcepool/hardware.json" t cache --prune
ls "$folder/resourcepool"
RESOURCE_POOL_HISTORY=off RESOURCE_POOL_RUNS=off t cache
env -u HOME -u XDG_CACHE_HOME rpool cache --folder 2>&1
echo "exit $?"
rm -r "$folder"
