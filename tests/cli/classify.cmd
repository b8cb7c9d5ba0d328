rpool classify openai/whisper-tiny
rpool classify --json "$ROOT/tests/data/tiny-bert" | head -4 | tail -3
printf 'gpt2\n\nxyzzy\n' | rpool classify --stdin
printf '{"architecture": "ViTForImageClassification"}\n{"tasks": ["text-to-speech"]}\n' | rpool classify --stdin --jsonl
printf '[1]\n' | rpool classify --stdin --jsonl; echo "exit $?"
rpool classify; echo "exit $?"
