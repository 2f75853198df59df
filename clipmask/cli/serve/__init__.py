"""``clipmask serve``: a web page on which people segment their own pictures and films."""
