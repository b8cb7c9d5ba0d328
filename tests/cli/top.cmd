# A live view never starts a broker, and says what it does not know.
RESOURCE_POOL_BROKER=$(mktemp -d)/broker
RESOURCE_POOL_HISTORY=off
export RESOURCE_POOL_BROKER RESOURCE_POOL_HISTORY
t() { rpool "$@" 2>&1; echo "exit $?"; }
t top --once
t top --once --json
t top --sort size
t top --interval 0
timeout 1.5 rpool top | sed -n 1,3p
timeout 1.5 rpool top --json | head -n 1
mkfifo "$RESOURCE_POOL_BROKER.ready"
rpool serve --ready-fd 1 --name 'a test' >"$RESOURCE_POOL_BROKER.ready" 2>/dev/null &
read -r ready <"$RESOURCE_POOL_BROKER.ready"
t top --once
t top --once --folder "$RESOURCE_POOL_BROKER.other"
t move model:a@cpu cuda:9
rpool stop
t move
t move model:a@cpu cuda:9 --force more
