# tests/scenario/local.mk - whole programs against a real broker: make scenario.  And the demo.

EXTRA_DIST += \
	tests/scenario/pytest.ini \
	tests/scenario/conftest.py \
	tests/scenario/lib/__init__.py \
	tests/scenario/lib/broker.py \
	tests/scenario/lib/gateway.py \
	tests/scenario/lib/mqtt.py \
	tests/scenario/lib/packets.py \
	tests/scenario/lib/pki.py \
	tests/scenario/lib/plant.py \
	tests/scenario/lib/streams.py \
	tests/scenario/lib/wait.py \
	tests/demo/demo.py

demo: all
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) '$(top_srcdir)/tests/demo/demo.py' --build '$(abs_top_builddir)'

.PHONY: demo
