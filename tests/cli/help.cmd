# Help comes from the table and goes to stdout.
rpool --help
rpool load --help
rpool move --help
# Those that look after a broker say more than a line for each option.
for command in run serve status top evict move clear stop cache; do
    rpool $command --help | sed '1,/--help /d' | grep -q . || echo "nothing more on $command"
done
