"""What is spoiled at random is refused with an error of ours, or runs; nothing ends in a traceback."""

import fuzz_pickles
from campaign import Campaign
from fuzz_configs import configuration
from fuzz_files import file
from fuzz_pickles import code

CAMPAIGNS = [
    Campaign("a configuration file mutated", 2000, 2000, configuration),
    Campaign("a file of data, weights or a run damaged", 1000, 150, file),
    Campaign("code in a pickle, a tag or a class path", fuzz_pickles.TRIES, fuzz_pickles.TRIES, code),
]
