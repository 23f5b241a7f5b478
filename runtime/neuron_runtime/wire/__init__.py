"""What each API's requests and answers look like as bytes. Pure codecs: no sockets, no queue, no model."""
