"""visagist.faceset"""
