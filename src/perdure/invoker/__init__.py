"""Runs attempts: `local` those of handlers in this process, `remote` those in deployments elsewhere. What both propose is in
`proposals`, what is checked of a command in `admission`."""
