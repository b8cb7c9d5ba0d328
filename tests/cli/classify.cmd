rpool classify openai/whisper-tiny
rpool classify --json "$ROOT/tests/data/tiny-bert" | head -4 | tail -3
printf 'gpt2\n\nxyzzy\n' | rpool classify --stdin
printf '{"architecture": "ViTForImageClassification"}\n{"tasks": ["text-to-speech"]}\n' | rpool classify --stdin --jsonl
printf '[1]\n' | rpool classify --stdin --jsonl; echo "exit $?"
rpool classify; echo "exit $?"
folder=$(mktemp -d)
printf '\100\0\0\0\0\0\0\0%-64s' '{"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}' > "$folder/model.safetensors"
head -c 12 /dev/zero >> "$folder/model.safetensors"
cp "$ROOT/tests/data/tiny-bert/config.json" "$folder"
rpool classify "$folder"
rpool classify --json "$folder/model.safetensors"
printf '{' > "$folder/config.json"
rpool classify "$folder" 2>&1; echo "exit $?"
rm -r "$folder"
rpool classify ./no-such-folder 2>&1; echo "exit $?"
rpool classify gpt2 no/such.safetensors 2>&1; echo "exit $?"
db=$(mktemp)
printf '{"gpt2": {"family": "audio", "subfamily": "text_to_speech", "confidence": 0.9}}' > "$db"; printf 'gpt2\n' | rpool classify --stdin --model-db "$db"
printf '{"gpt2": {"family": "sound"}}' > "$db"; rpool classify gpt2 --model-db "$db"; echo "exit $?"; rm -f "$db" "$db".lock
rpool classify gpt2 --model-db nonesuch.json; echo "exit $?"
# Names that are no UTF-8 are answered, with U+FFFD; what is no text at all ends it, and a bad line costs the others nothing.
printf '\377-bert \303\251\ngpt2' | rpool classify --stdin
printf 'gpt2\na\0b\n' | rpool classify --stdin; echo "exit $?"
rpool classify --stdin < /; echo "exit $?"
rpool classify --stdin <&-; echo "exit $?"
head -c 2000000 /dev/zero | tr '\0' a | rpool classify --stdin; echo "exit $?"
printf '{"name": 3}\nbert\n{"tasks": "fill-mask"}\n{"nam": "bert"}\n{"name": "gpt2", "tasks": null}\n' | rpool classify --jsonl 2>&1; echo "exit $?"
rpool classify --json "$(printf '\377')" | head -2
yes gpt2 | head -100000 | rpool classify --stdin > /dev/full; echo "exit $?"
folder=$(mktemp -d); mkdir "$folder/gpt2"; rpool classify "$folder/gpt2" | tail -n +2; rm -r "$folder"
rpool classify xyzzy
printf '{"name": "xyzzy", "methods": ["forward", "transcribe"]}\n' | rpool classify --jsonl
# A name with a colour in it, as a folder from elsewhere may have.
rpool classify "$(printf 'gpt2\033[31m')"
