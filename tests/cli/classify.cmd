rpool classify openai/whisper-tiny
rpool classify --json "$ROOT/tests/data/tiny-bert" | head -4 | tail -3
printf 'gpt2\n\nxyzzy\n' | rpool classify --stdin
printf '{"architecture": "ViTForImageClassification"}\n{"tasks": ["text-to-speech"]}\n' | rpool classify --stdin --jsonl
printf '[1]\n' | rpool classify --stdin --jsonl; echo "exit $?"
rpool classify; echo "exit $?"
db=$(mktemp)
printf '{"gpt2": {"family": "audio", "subfamily": "text_to_speech", "confidence": 0.9}}' > "$db"; printf 'gpt2\n' | rpool classify --stdin --model-db "$db"
printf '{"gpt2": {"family": "sound"}}' > "$db"; rpool classify gpt2 --model-db "$db"; echo "exit $?"; rm -f "$db" "$db".lock
rpool classify gpt2 --model-db nonesuch.json; echo "exit $?"
