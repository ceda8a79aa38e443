"""llama-servers, chats and balancers that are simulated, second by second and by seed."""

__all__: list[str] = []
