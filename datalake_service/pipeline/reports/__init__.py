"""What is in a lake, for people: overviews, coverage, rejections, failed annotations."""
