"""When may the next request leave? Rate limits, windows, and shares of a quota."""
