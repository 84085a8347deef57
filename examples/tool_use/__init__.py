"""The sample tools of the dialogue generator, and what people say to them."""
