"""``clipmask serve``: serves a web page on which visitors segment pictures and films."""
