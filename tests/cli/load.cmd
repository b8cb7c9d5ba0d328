# One miss, the rest hits; the same as JSON.
rpool load 'toy?load_ms=20&memory_bytes=64MiB' --engine simulated --repeat 10
rpool load 'toy?memory_bytes=1' --engine simulated --repeat=3 --json
# A folder is the model in it: y = x + x, as cli/doubling_model.h has it.
folder=$(mktemp -d)
rpool load "$folder" 2>&1
# What failed is an object too, with its diagnosis; the exit code is that of the failure.
{ rpool load /nowhere.onnx --json 2> /dev/null; echo $?; } | python3 -c '
import json, sys
*text, code = sys.stdin.read().split("\n")[:-1]
error = json.loads("".join(text))["error"]
print(error["status"], code, error["category"], error["diagnosis"]["category"])'
printf '\010\010\0725\012\016\012\001x\012\001x\022\001y\042\003Add\022\001gZ\017\012\001x\022\012\012\010\010\001\022\004\012\002\010\002b\017\012\001y\022\012\012\010\010\001\022\004\012\002\010\002B\004\012\000\020\015' > "$folder/model.onnx"
rpool load "$folder" | grep -v ' ms$'
rm -r "$folder"
