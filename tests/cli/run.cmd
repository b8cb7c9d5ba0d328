# A command keeps its exit code and its streams; what rpool itself gets wrong is 125 to 127.
export RESOURCE_POOL_RUNS=off
t() { rpool run "$@" 2>&1; echo "exit $?"; }
t
t --frob -- true
t -n 0 -- true
t -n
t --share all -- true
t --share process --isolated -- true
t --share process --budget 1GiB -- true
t --budget much -- true
t --share process -- sh -c 'echo out; echo err >&2; exit 7'
t --share process -- sh -c 'kill -TERM $$'
t --share process -- /nowhere/at/all
t --share process -- /etc/passwd
t --share process -n 3 -- sh -c 'echo $RESOURCE_POOL_SHARE $PYTEST_XDIST_AUTO_NUM_WORKERS $CTEST_PARALLEL_LEVEL $RUST_TEST_THREADS $CMAKE_BUILD_PARALLEL_LEVEL'
t --share process printf '%s,' -n --json --
folder=$(mktemp -d)
t --share process --json "$folder/report" -n 2 -- true
cat "$folder/report"
rm -r "$folder"
