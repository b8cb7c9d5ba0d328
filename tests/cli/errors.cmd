# Wrong calls: one sentence, a hint, the documented exit code.
t() { rpool "$@" 2>&1 >/dev/null; echo "exit $?"; }
t
t frob
t load
t load a b
t load --frob x
t load x --threads 0
t load x --threads
t load /nowhere/model.onnx
t load "$ROOT/docs"
t load /dev/null
t load "$(printf 'a\nb')"
t load "$(printf 'caf\351')"
t load x --engine frob
t load x --device cuda:7 --engine simulated
t load 'x?fail=load' --engine simulated
t load 'x?fail=memory&memory_bytes=2GiB' --engine simulated
t load 'x?speed=9' --engine simulated
t bench frob
t bench python frob
RESOURCE_POOL_PYTHON=/nowhere/python t bench python
t doctor --test frob
t explain ''
rpool --help > /dev/full; echo "exit $?"
rpool load --help > /dev/full; echo "exit $?"
