"""Views: the filtered, joined reading of a dataset's merged rows."""
