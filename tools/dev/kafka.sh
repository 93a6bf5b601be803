# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# One Apache Kafka node (KRaft) of a stack. The jars come from Maven Central once, pinned in
# kafka-pom.xml, into the user's cache. Data, ports and log are in the stack's folder, kafka/.
#
# Two listeners: plain, and SASL_SSL (user alice, password alice-secret; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512)
# with a certificate of a CA that is made for the stack: kafka/tls/ca.pem. PLAIN has its users in the listener's
# login module, SCRAM in the cluster's metadata: formatting puts alice there. librdkafka before 2.6.1 is refused
# by SCRAM all the same (docs/kafka-settings.md).
#
# Settings: a node on a small machine (few internal partitions, a small log-cleaner buffer, no wait for
# more group members), topics only on request. After a SIGKILL the node waits until the controller has
# forgotten its former self, so that session is short.

kafka_version=4.3.1
kafka_cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sagabus
kafka_jars=$kafka_cache/kafka-$kafka_version

kafka_java() { # prints a java of version 17 or newer
    for _java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java)" /usr/lib/jvm/*/bin/java; do
        [ -x "$_java" ] || continue
        _major=$("$_java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
        if [ "${_major:-0}" -ge 17 ]; then
            echo "$_java"
            return 0
        fi
    done
    return 1
}

kafka_fetch() { # into the cache; 1 when Maven or Maven Central is not there
    [ -d "$kafka_jars" ] && return 0
    have mvn || {
        say "Maven is missing: run ./dev setup --kafka"
        return 1
    }
    mkdir -p "$kafka_cache"
    (
        flock 7 # several runs may want the same jars; the first one fetches
        [ -d "$kafka_jars" ] && exit 0
        say "fetching Apache Kafka $kafka_version from Maven Central (once, about 45 MB) into $kafka_jars"
        rm -rf "$kafka_jars".new.*
        _new=$(mktemp -d "$kafka_jars.new.XXXXXX")
        # Maven keeps what it has: an interrupted fetch goes on where it stopped.
        mvn -B -q -Dstyle.color=never -f "$root/tools/dev/kafka-pom.xml" \
            org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DincludeScope=runtime \
            -DoutputDirectory="$_new/libs" >"$_new/maven.log" 2>&1 7>&- 9>&- || {
            say "Maven could not fetch Kafka: $(grep -m 1 'ERROR' "$_new/maven.log" | sed 's/.*ERROR. //' | cut -c1-600)"
            rm -rf "$_new"
            exit 1
        }
        [ -f "$_new/libs/kafka_2.13-$kafka_version.jar" ] || exit 1
        chmod 755 "$_new"
        mv "$_new" "$kafka_jars"
    ) 7>"$kafka_cache/lock"
}

kafka_run() { # kafka_run MAIN ARGS...: a Kafka tool, in the foreground
    "$(kafka_java)" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dlog4j2.configurationFile="$root/tools/dev/kafka-log4j2.properties" -cp "$kafka_jars/libs/*" "$@" 9>&-
}

kafka_certify() { # a CA, and a certificate of 127.0.0.1 by it, valid for a month
    _tls=$kafka_dir/tls
    [ ! -f "$_tls/server.pem" ] || return 0
    mkdir -p "$_tls"
    (
        umask 077
        cd "$_tls"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=sagabus test CA' \
            -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=127.0.0.1' \
            -keyout server.key -out server.csr
        echo 'subjectAltName=IP:127.0.0.1,DNS:localhost' >server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext \
            -out server.crt
        cat server.key server.crt ca.pem >server.pem
    ) >"$kafka_dir/tls.log" 2>&1 || die "no certificate for Kafka: $(tail -n 2 "$kafka_dir/tls.log")"
}

kafka_configure() { # kafka_configure PORT CONTROLLER_PORT SASL_PORT
    echo "$1 $2 $3" >"$kafka_dir/ports"
    kafka_certify
    cat >"$kafka_dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2,SASL_SSL://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$1,SASL_SSL://127.0.0.1:$3
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
listener.name.sasl_ssl.ssl.keystore.type=PEM
listener.name.sasl_ssl.ssl.keystore.location=$kafka_dir/tls/server.pem
listener.name.sasl_ssl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="alice-secret";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs=$kafka_dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=67108864
END
}

kafka_format() { # an empty node with a new cluster id
    rm -rf "$kafka_dir/data"
    # Kafka's ids are 16 bytes in URL-safe base64; the version bits of a UUID are not looked at.
    # A leading dash would be taken for an option.
    _id=A$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n' | cut -c1-20)A
    kafka_run kafka.tools.StorageTool format -t "$_id" -c "$kafka_dir/server.properties" \
        --add-scram 'SCRAM-SHA-256=[name=alice,password=alice-secret]' \
        --add-scram 'SCRAM-SHA-512=[name=alice,password=alice-secret]' \
        >"$kafka_dir/format.log" 2>&1 || die "formatting Kafka's storage failed: $(tail -n 3 "$kafka_dir/format.log")"
    touch "$kafka_dir/data/.formatted"
}

kafka_launch() { # starts the node and waits for it; 1 = a port was taken
    [ ! -f "$kafka_dir/log" ] || mv "$kafka_dir/log" "$kafka_dir/log.before"
    # The demo wants a quick start in little memory. A benchmark wants the optimizing compiler, and memory and
    # collector of Kafka's own start script: with little, the broker stands still for 8 to 40 ms every 2.5 s.
    _jvm='-Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1'
    [ ! -f "$kafka_dir/for-bench" ] ||
        _jvm='-Xms1g -Xmx1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35'
    launching=kafka
    # shellcheck disable=SC2086 # each option is a word
    setsid "$(kafka_java)" $_jvm -XX:+ExitOnOutOfMemoryError \
        -Dlog4j2.configurationFile="$root/tools/dev/kafka-log4j2.properties" -Djava.io.tmpdir="$kafka_dir/tmp" \
        -cp "$kafka_jars/libs/*" kafka.Kafka "$kafka_dir/server.properties" \
        </dev/null >"$kafka_dir/log" 2>&1 9>&- &
    process_record "$stack_dir/broker.pid" $!
    launching=
    read -r _port _ <"$kafka_dir/ports"
    _left=1200
    until grep -qs 'Kafka Server started' "$kafka_dir/log" && port_listens "$_port"; do
        if ! process_alive "$stack_dir/broker.pid"; then
            rm -f "$stack_dir/broker.pid"
            grep -qs 'Address already in use' "$kafka_dir/log" && return 1
            die "Kafka ended at start: $(grep -E -m 3 'ERROR|FATAL|Exception' "$kafka_dir/log" || echo 'no reason given'), see $kafka_dir/log"
        fi
        _left=$((_left - 1))
        [ "$_left" -gt 0 ] || die "Kafka is not ready after 120 s, see $kafka_dir/log"
        sleep 0.1
    done
}

# The first start takes free ports; every later one keeps them, for clients know the address by then.
kafka_start() {
    [ -d "$kafka_jars" ] || kafka_fetch || die "no Kafka jars"
    kafka_java >/dev/null || die "no Java 17 or newer: run ./dev setup --kafka"
    mkdir -p "$kafka_dir/tmp"
    if [ -f "$kafka_dir/ports" ]; then
        [ -f "$kafka_dir/data/.formatted" ] || kafka_format
        kafka_launch || die "the port of this stack's Kafka ($(cat "$kafka_dir/ports")) is taken by another program"
        return 0
    fi
    _tries=5
    while :; do
        _one=$(free_port)
        _two=$(free_port)
        _three=$(free_port)
        [ "$_one" != "$_two" ] && [ "$_one" != "$_three" ] && [ "$_two" != "$_three" ] || continue
        kafka_configure "$_one" "$_two" "$_three"
        kafka_format
        kafka_launch && return 0
        rm -f "$kafka_dir/ports"
        _tries=$((_tries - 1))
        [ "$_tries" -gt 0 ] || die "found no free ports for Kafka"
    done
}

kafka_bootstrap() {
    read -r _port _ <"$kafka_dir/ports"
    echo "127.0.0.1:$_port"
}

kafka_sasl_bootstrap() { # of the SASL_SSL listener; nothing on a stack that an older checkout made
    read -r _ _ _port <"$kafka_dir/ports"
    [ -z "$_port" ] || echo "127.0.0.1:$_port"
}
