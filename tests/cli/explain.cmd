rpool explain meta-llama/Llama-2-70b --simulate "$ROOT/tests/machines/8xh100.json"
rpool explain meta-llama/Llama-3.1-405B --simulate "$ROOT/tests/machines/8xmi300x.json" | cut -c1-80
rpool explain bert-base-uncased --simulate "$ROOT/tests/machines/laptop.json" --device webnn --policy require; echo "exit $?"
rpool explain bert-base-uncased --simulate "$ROOT/tests/machines/browser-only.json" --preferences '{"priorty_list": ["webnn"], "subfamily": "web_deployment"}' 2>&1 | head -3
rpool explain gpt2 --simulate "$ROOT/tests/machines/a100-t4.json" --device cuda:9 --json 2>&1 | grep -c reason; rpool explain gpt2 --simulate "$ROOT/tests/machines/a100-t4.json" --device cuda:9 > /dev/null; echo "exit $?"
rpool explain gpt2 --policy perhaps; echo "exit $?"
rpool explain gpt2 --precision fp17 --simulate "$ROOT/tests/machines/laptop.json"; echo "exit $?"
rpool explain gpt2 --preferences '{"device": 7}'; echo "exit $?"
rpool explain ./no-such-model; echo "exit $?"
rpool explain gpt2 --device potato --simulate "$ROOT/tests/machines/laptop.json" > /dev/null; echo "exit $?"
rpool explain gpt2 --policy require --simulate "$ROOT/tests/machines/laptop.json" > /dev/null; echo "exit $?"
for wishes in /nowhere.json / /dev/zero '[]' ''; do rpool explain gpt2 --preferences "$wishes"; echo "exit $?"; done
echo '{"device": "cuda:3"}' | rpool explain gpt2 --preferences - --simulate "$ROOT/tests/machines/a100-t4.json" | head -2
rpool explain "$(printf '\377')" --simulate "$ROOT/tests/machines/laptop.json" --json | head -3
