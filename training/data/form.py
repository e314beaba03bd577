"""What an example of a data set is, whatever it is made of."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Form:
    """What an example is: its kind, and the shape of a picture or a clip."""

    kind: str
    shape: tuple = ()
