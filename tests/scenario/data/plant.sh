# plant.sh - what an integrator has before he opens the first document, at /root of the scratch machine
# (lib/machine.py): CAs, two brokers, the gateway's server certificate, the devices' old identities on a
# stick, and the commands `sensor` and `heard`.

mkdir -p /root/pki /media/usb/identities
cd /root/pki

# ca NAME SUBJECT, and leaf NAME SUBJECT CA EXTENSIONS: NAME.pem and NAME.key.  They are not of today.
ca() {
    faketime -f -100d openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.pem" -days 3650 \
        -subj "$2" -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}
leaf() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
    faketime -f "${at:--60d}" openssl x509 -req -in "$1.csr" -CA "$3.pem" -CAkey "$3.key" -set_serial "0x$(openssl rand -hex 8)" -days "${days:-300}" \
        -extfile <(printf "%b" "$4") -out "$1.pem" 2>/dev/null
    rm "$1.csr"
}

ca old-ca '/O=Plant/CN=Old CA'
ca new-ca '/O=Plant/CN=New CA'
ca broker-ca '/O=Plant/CN=Broker CA'
leaf broker /CN=broker.example.com broker-ca 'subjectAltName=DNS:broker.example.com\nextendedKeyUsage=serverAuth'
leaf server /CN=gw-hall-3 broker-ca \
    'subjectAltName=DNS:gw-hall-3.example.com,IP:192.0.2.1\nextendedKeyUsage=serverAuth'
for device in press-12 press-13 press-14; do
    days=$([ $device = press-14 ] && echo 100 || echo 300) leaf $device /CN=$device old-ca extendedKeyUsage=clientAuth
    cp $device.pem $device.key /media/usb/identities/
done
leaf fleet /CN=fleet old-ca extendedKeyUsage=clientAuth
leaf gw-hall-3 /CN=gw-hall-3 old-ca extendedKeyUsage=clientAuth
cat old-ca.pem new-ca.pem >clients.pem

cp server.pem /root/server-chain.pem
cp server.key /root/server-key.pem
cp old-ca.pem /root/devices-ca.pem
cp broker-ca.pem new-ca.pem /root/

# The broker takes clients of both CAs.
cat >broker.conf <<'EOF'
per_listener_settings true
user root
persistence false
listener 8883 192.0.2.80
cafile /root/pki/clients.pem
certfile /root/pki/broker.pem
keyfile /root/pki/broker.key
require_certificate true
use_identity_as_username true
listener 1883
allow_anonymous true
EOF
cat >/usr/bin/broker <<'EOF'
#!/bin/bash
# broker start|stop
pid=/run/broker.pid
case $1 in
start)
    setsid mosquitto -c /root/pki/broker.conf >>/root/pki/broker.log 2>&1 </dev/null &
    echo $! >$pid
    for _ in $(seq 500); do if (: </dev/tcp/192.0.2.80/8883) 2>/dev/null; then exit 0; fi; sleep 0.02; done
    echo "the broker does not listen"; exit 1 ;;
stop)
    kill "$(cat $pid)"
    while kill -0 "$(cat $pid)" 2>/dev/null; do sleep 0.02; done ;;
esac
EOF
# A sensor that reconnects by itself: with its old certificate, for ever.
cat >/usr/bin/sensor <<'EOF'
#!/bin/sh
# sensor NAME: comes, stays, and writes down what it hears
setsid sh -c "while :; do mosquitto_sub -h gw-hall-3.example.com -p 8883 --cafile /root/pki/broker-ca.pem \
    --cert /root/pki/$1.pem --key /root/pki/$1.key -i $1 -c -q 1 -t cmd/$1 >>/root/pki/$1.heard; sleep 0.1; done" \
    >/dev/null 2>&1 </dev/null &
until_online $1
EOF
cat >/usr/bin/until_online <<'EOF'
#!/bin/sh
for _ in $(seq 500); do
    case $(certflipctl --json device "$1" 2>/dev/null) in
    *'"online":true'* | *'"online": true'*) exit 0 ;;
    esac
    sleep 0.02
done
echo "$1 does not come"
exit 1
EOF
chmod +x /usr/bin/broker /usr/bin/sensor /usr/bin/until_online
broker start
cd /root

# `gateway`: what docs/quick-start.md leads to at the end of its step 4.  `staged DEVICE...`: up to its step 5.
cat >/usr/bin/gateway <<'EOF'
#!/bin/bash
set -e
cd /root
install -o root -g certflip -m 640 server-chain.pem server-key.pem devices-ca.pem broker-ca.pem /etc/certflip/tls/
cat >/etc/certflip/certflip.conf <<'CONF'
gateway = "gw-hall-3";
listeners = (
  { name = "sensors"; address = "192.0.2.1";
    chains = ( { chain = "tls/server-chain.pem"; key = "tls/server-key.pem"; } );
    anchors = [ "tls/devices-ca.pem" ]; }
);
upstreams = (
  { name = "main"; address = "broker.example.com"; anchors = [ "tls/broker-ca.pem" ]; }
);
devices = ( { name = "{cn}"; match = { cn = "press-*"; }; } );
flip = { backoff_network_s = [ 1 ]; backoff_tls_s = [ 1 ]; };
clock = { require_sync = false; };
CONF
systemctl start certflip
certflipctl import --dir /media/usb/identities >/dev/null
for device in press-12 press-13 press-14; do sensor $device; done
EOF
cat >/usr/bin/sign <<'EOF'
#!/bin/bash
# sign REQUEST CERTIFICATE: what the new CA does
openssl x509 -req -in "$1" -CA /root/pki/new-ca.pem -CAkey /root/pki/new-ca.key -days 365 \
    -set_serial "0x$(openssl rand -hex 8)" -extfile <(echo extendedKeyUsage=clientAuth) -out "$2" 2>/dev/null
EOF
cat >/usr/bin/staged <<'EOF'
#!/bin/bash
set -e
for device; do
    certflipctl keygen $device --out /tmp/$device.csr >/dev/null
    sign /tmp/$device.csr /tmp/$device.pem
    certflipctl install $device /tmp/$device.pem >/dev/null
done
EOF
cat >/usr/bin/revoke-nothing <<'EOF'
#!/bin/bash
# revoke-nothing FILE: a list of the old CA
cd /root/pki
touch index.txt
echo 01 >crlnumber
openssl ca -config <(printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\n') \
    -gencrl -keyfile old-ca.key -cert old-ca.pem -crldays 30 -out "$1" 2>/dev/null
EOF
chmod +x /usr/bin/gateway /usr/bin/sign /usr/bin/staged /usr/bin/revoke-nothing

# `centre`: a gateway that the centre commands, and the folder of the fleet's operator, /root/campaign.
cat >/usr/bin/centre <<'EOF'
#!/bin/bash
set -e
gateway
cd /root/pki
cp gw-hall-3.pem gw-hall-3.key /tmp/
cat >/etc/certflip/conf.d/management.conf <<'CONF'
management = { enabled = true; };
CONF
certflipctl import gw-hall-3 gw-hall-3.pem --key gw-hall-3.key >/dev/null
systemctl restart certflip
for device in press-12 press-13 press-14; do until_online $device; done
for _ in $(seq 400); do if certflipctl status | grep -q '^central.*connected'; then break; fi; sleep 0.05; done
mkdir -p /root/campaign
cp broker-ca.pem new-ca.pem fleet.pem /root/campaign/
cp fleet.key /root/campaign/fleet-key.pem
cp new-ca.key /root/campaign/new-ca-key.pem
EOF
chmod +x /usr/bin/centre
