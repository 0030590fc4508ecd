"""Programs with one fault each, which chaos must find: the proof that it could find it in the real one."""
