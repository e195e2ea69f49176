# SPDX-License-Identifier: Apache-2.0
"""What the wheel adds to the program `quern`: quern.models fetches embedded models, quern.ray serves over the machines of a Ray cluster."""
