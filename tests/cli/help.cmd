# Help comes from the table and goes to stdout.
rpool --help
rpool load --help
