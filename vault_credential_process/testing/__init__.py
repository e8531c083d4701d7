"""Contract tests, shipped so that every implementation inherits them: ours and those of other packages.

They are plain pytest classes; pytest itself is not imported unless one of them is used::

    class TestMine(CacheBackendContract):
        @pytest.fixture
        def backend(self):
            return Mine()
"""
