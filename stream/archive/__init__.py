"""The archive: published levels computed again from what was kept, and what it takes to do so years later."""
