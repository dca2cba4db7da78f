"""Dead letters: records of the sensors' topics that are no valid event, kept with what is wrong with them.

Flink leaves out what it cannot use. :mod:`dead_letters.collector` finds the gaps, :mod:`dead_letters.classify`
names the error, and the record is stored in ``bronze.dead_letters``, from where it can be published again.
"""
