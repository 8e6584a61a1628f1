"""The subcommands of `fastbp`: each module adds its parser, and returns how it ended."""
