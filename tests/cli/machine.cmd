# A broker begins, says how it stands and ends; what looks after it never starts one.
RESOURCE_POOL_BROKER=$(mktemp -d)/broker
RESOURCE_POOL_HISTORY=off
export RESOURCE_POOL_BROKER RESOURCE_POOL_HISTORY
t() { rpool "$@" 2>&1; echo "exit $?"; }
t status
t stop
t evict model:a@cpu
t clear --json
ls "$RESOURCE_POOL_BROKER" 2>&1 | grep -c sock
mkfifo "$RESOURCE_POOL_BROKER.ready" 
rpool serve --ready-fd 1 --budget 1GiB --name 'a test' >"$RESOURCE_POOL_BROKER.ready" 2>"$RESOURCE_POOL_BROKER.log" &
read -r ready <"$RESOURCE_POOL_BROKER.ready"
echo "$ready"
t status
rpool status --json | grep -E '"(name|draining|protocol|idle_exit_ms|leases|waiters)"'
t serve
t evict model:a@cpu
t clear
t stop --json
wait
t status
grep -E 'event=(serve|drain|end) ' "$RESOURCE_POOL_BROKER.log"
t serve --idle-exit 0 2>&1 | grep -c 'reason="idle"'
chmod 755 "$RESOURCE_POOL_BROKER"
t status
t serve
RESOURCE_POOL_BROKER=relative t status
t evict
