folder=$(mktemp -d)
oom='RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.69 GiB total capacity)'
# The text from stdin, asked for or not, and from a file; an answer is one also where nothing is known.
echo "$oom" | rpool diagnose | grep -o 'category *[a-z_]*'
echo "$oom" | rpool diagnose --stdin --json | grep -o '"category": "[a-z_]*"'
echo "$oom" > "$folder/error.txt"
rpool diagnose --file "$folder/error.txt" --hardware cuda:0 --model bert-base-uncased --json | grep -oE '"(category|hardware|model|family)": "[^"]*"'
rpool diagnose < /dev/null | grep -o 'category *[a-z_]*'; rpool diagnose < /dev/null > /dev/null; echo "exit $?"
# Each line has its answer with its id, as it was typed; what cannot be read costs the others nothing.
printf '{"id": 7, "error": "x"}\n\n{"id": "a\\u0000\\u00e9", "error": null, "hardware": null, "model": null, "stack_trace": null}\n{"id": {"k": [1, null, 1.5]}, "error": "x", "more": 1}\n{"id": 18446744073709551616}\n{"error": "x"}' | rpool diagnose --jsonl | sed 's/,"category":"\([a-z_]*\)".*/ \1/'
printf '{"id": 1, "error": 5}\nnone\n[1]\n{"id": 2, "error": "x", "hardware": "abacus"}\n{"id": 3, "error": "x", "model": "a\\u0000b"}\n{"id": 4, "error": "\\udcff \377"}\r\n' | rpool diagnose --jsonl 2>&1 | sed 's/,"category":.*//'
printf '{"id": 1}\nx\n' | rpool diagnose --jsonl > /dev/null 2>&1; echo "exit $?"
printf '\357\273\277{"id": 1, "error": "x"}\n' > "$folder/lines"; rpool diagnose --jsonl --file "$folder/lines" --hardware rocm | grep -oE '"(id|hardware)":[^,]*'
# A report, a bundle, and both shown; nothing private is in them.
echo "$oom, password=hunter2 in /home/somebody/x.py" > "$folder/error.txt"
rpool diagnose --file "$folder/error.txt" --model org/m --save "$folder/a/b" --bundle "$folder/bundle.json" | tail -2
rpool diagnose --show "$folder"/a/b/*.json | grep -E 'report of|model|error|  \|'
rpool diagnose --show "$folder/bundle.json" | grep '  |'
rpool diagnose --show "$folder/bundle.json" --json | grep -E '^  "'
cat "$folder"/a/b/* "$folder/bundle.json" | grep -c -e hunter2 -e somebody
rpool diagnose --file "$folder/error.txt" --save "$folder/a/b" --json | grep -o '"report": ".*/hardware_error_unknown_'
ls "$folder/a/b" | wc -l
rpool diagnose --file "$folder/error.txt" --bundle "$folder/bundle.json" 2>&1 > /dev/null
rpool diagnose --file "$folder/error.txt" --bundle "$folder/bundle.json" > /dev/null 2>&1; echo "exit $?"
rpool diagnose --file "$folder/error.txt" --save "$folder/error.txt" 2>&1 > /dev/null; echo "exit $?"
# Another machine.
rpool diagnose --file "$folder/error.txt" --simulate "$folder/none.json" 2>&1; echo "exit $?"
# Wrong calls.
rpool diagnose --file "$folder/none" 2>&1; echo "exit $?"
rpool diagnose --file "$folder" 2>&1; echo "exit $?"
rpool diagnose --show "$folder/none" 2>&1; echo "exit $?"
rpool diagnose --show "$folder/error.txt" 2>&1; echo "exit $?"
rpool diagnose --show x --file y; echo "exit $?"
rpool diagnose --stdin --file y; echo "exit $?"
rpool diagnose --jsonl --save y; echo "exit $?"
rpool diagnose --hardware abacus < /dev/null; echo "exit $?"
rpool diagnose error.txt; echo "exit $?"
# Streams that are closed, full, or gone.
rpool diagnose <&- 2>&1; echo "exit $?"
echo x | rpool diagnose 2>&1 >&-; echo "exit $?"
echo x | rpool diagnose 2>&1 > /dev/full; echo "exit $?"
yes '{"error": "x"}' | head -20000 | rpool diagnose --jsonl 2>&1 > /dev/full; echo "exit $?"
(yes '{"error": "x"}' | head -20000 | rpool diagnose --jsonl 2> "$folder/said"; echo "exit $?" >> "$folder/said") | head -1 | grep -c category; cat "$folder/said"
rpool diagnose --jsonl < / 2>&1; echo "exit $?"
rm -r "$folder"
