"""Parts of the sample document generator: words, senders, layouts, scanning damage, Paperless wire form."""
