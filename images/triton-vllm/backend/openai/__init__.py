"""OpenAI's protocol and the HTTP port of the backend."""
