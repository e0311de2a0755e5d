noinst_LIBRARIES += libmqtt.a

libmqtt_a_SOURCES = \
	src/mqtt/check.c \
	src/mqtt/connect.c \
	src/mqtt/connect.h \
	src/mqtt/convert.c \
	src/mqtt/convert.h \
	src/mqtt/fault.c \
	src/mqtt/fault.h \
	src/mqtt/packet.c \
	src/mqtt/packet.h \
	src/mqtt/props.c \
	src/mqtt/props.h \
	src/mqtt/publish.c \
	src/mqtt/publish.h \
	src/mqtt/rd.h \
	src/mqtt/subscribe.c \
	src/mqtt/subscribe.h \
	src/mqtt/topic.c \
	src/mqtt/topic.h \
	src/mqtt/wr.h
