"""Says hello: the smallest function. README.md says how to deploy and invoke it."""


def handler(event, context):
    """Answers with a greeting. `event` is what was sent, parsed from JSON; what is returned is sent back as JSON."""
    name = (event or {}).get("name", "world")
    print(f"greeting {name}")
    return {"greeting": f"Hello, {name}!"}
