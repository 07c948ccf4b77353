"""The public API: authentication, validation, routing by alias, invocation."""
