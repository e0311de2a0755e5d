# conf/schema/local.mk - JSON Schemas of the commands and messages: installed, and in certflipctl.

schema_files = \
	conf/schema/audit.list.json \
	conf/schema/commit.json \
	conf/schema/common.json \
	conf/schema/config.reload.json \
	conf/schema/confirm.json \
	conf/schema/crl.list.json \
	conf/schema/crl.update.json \
	conf/schema/device.changes.json \
	conf/schema/device.get.json \
	conf/schema/device.list.json \
	conf/schema/flip.json \
	conf/schema/help.json \
	conf/schema/identity.discard.json \
	conf/schema/identity.export.json \
	conf/schema/identity.import.json \
	conf/schema/identity.install.json \
	conf/schema/identity.keygen.json \
	conf/schema/identity.lint.json \
	conf/schema/keys.rekey.json \
	conf/schema/log.level.json \
	conf/schema/log.recent.json \
	conf/schema/message.device.json \
	conf/schema/message.event.json \
	conf/schema/message.reply.json \
	conf/schema/message.request.json \
	conf/schema/message.state.json \
	conf/schema/quarantine.clear.json \
	conf/schema/retire.json \
	conf/schema/rollback.json \
	conf/schema/sessions.list.json \
	conf/schema/status.json \
	conf/schema/trust.add.json \
	conf/schema/trust.check.json \
	conf/schema/trust.list.json \
	conf/schema/trust.remove.json

schemadir = $(pkgdatadir)/schema
dist_schema_DATA = $(schema_files)
