"""Every equation, once, with its source.

The scalar ones are compiled into the loops of every backend. Their arguments are numbers of one dtype, float32 or
float64.
"""
