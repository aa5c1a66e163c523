//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// Networks, as the stock CLI makes and uses them.
func TestDockerNetworks(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	for _, image := range []string{"nginx", "alpine"} {
		m.Must("docker", "pull", "-q", image)
	}
	t.Run("names", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "network create town"},
			{args: "network create hall"},
			{args: "run -d --name web --network town --network-alias site nginx"},
			{args: "run -d --name web2 --network town --network-alias site nginx"},
			{args: "run --rm --network town alpine cat /etc/resolv.conf", out: "nameserver 127.0.0.11\n"},
			{args: "run --rm --network town alpine wget -qO- http://web/", out: "nginx"},
			{args: "run --rm --network town alpine nslookup site 127.0.0.11", out: "172."},
			{args: "run --rm --network town alpine nslookup site.town 127.0.0.11", out: "172."},
			{args: "run --rm --network town --link web:page alpine wget -qO- http://page/", out: "nginx"},
			{args: "run --rm --network hall alpine wget -T 2 -qO- http://web/", code: 1},
			{args: "run -d --name late alpine sleep 1000"},
			{args: "exec late wget -T 2 -qO- http://web/", code: 1},
			{args: "network connect --alias second town late"},
			{args: "exec late wget -qO- http://web/", out: "nginx"},
			{args: "network connect hall late"},
			{args: "network disconnect town late"},
			{args: "exec late wget -T 2 -qO- http://web/", code: 1},
			{args: "exec late cat /etc/resolv.conf", out: "127.0.0.11"},
			{args: "run --rm --network hall alpine nslookup late 127.0.0.11", out: "172."},
		})
		// Both containers that share a name are told.
		if out := m.Must("docker", "run", "--rm", "--network", "town", "alpine", "nslookup", "site", "127.0.0.11"); strings.Count(out, "172.") != 2 {
			t.Errorf("nslookup of a shared name:\n%s", out)
		}
		// A restart of nau takes the names up again.
		m.Kill()
		m.Up()
		run(t, m.In(t), []line{
			{args: "exec web2 wget -qO- http://web/", out: "nginx"},
			{args: "rm -f web web2 late"},
			{args: "network rm town hall"},
		})
	})
	// A container that comes back with another address is found by those linked to it: in their hosts files, or by the network's server.
	t.Run("links", func(t *testing.T) {
		m := m.In(t)
		address := "inspect -f {{range.NetworkSettings.Networks}}{{.IPAddress}}{{end}} "
		run(t, m, []line{
			{args: "network create linked"},
			{args: "run -d --name db nginx"},
			{args: "run -d --name db2 --network linked nginx"},
			{args: "run -d --name asker --link db:store alpine sleep 1000"},
			{args: "run -d --name asker2 --network linked --link db2:store alpine sleep 1000"},
			{args: "create --link nobody:x alpine", code: 1, err: "could not get container for nobody: No such container: nobody"},
			{args: "inspect -f '{{json .HostConfig.Links}}' asker", out: `["/db:/asker/store"]`},
			{args: "ps --no-trunc --format {{.Names}} --filter name=^db$", out: "db,asker/store\n"},
			{args: "rename db database"},
			{args: "inspect -f '{{json .HostConfig.Links}}' asker", out: `["/database:/asker/store"]`},
			{args: "stop -t 0 database db2"},
			{args: "run -d --name squatter alpine sleep 1000"}, // takes the address
			{args: "run -d --name squatter2 --network linked alpine sleep 1000"},
			{args: "start database db2"},
		})
		for _, pair := range [][2]string{{"database", "squatter"}, {"db2", "squatter2"}} {
			if now, taken := m.Must("docker", words(address+pair[0])...), m.Must("docker", words(address+pair[1])...); now == taken {
				t.Errorf("%s and %s have one address: %s", pair[0], pair[1], now)
			}
		}
		run(t, m, []line{
			{args: "exec asker wget -T 2 -qO- http://store/", out: "nginx"},
			{args: "exec asker2 wget -T 2 -qO- http://store/", out: "nginx"},
			{args: "restart -t 0 asker"},
			{args: "exec asker wget -T 2 -qO- http://store/", out: "nginx"},
			{args: "exec asker env", out: "STORE_NAME=/asker/store"},
			{args: "rm -f database"},
			{args: "restart -t 0 asker", code: 1, err: "could not get container for"},
			{args: "rm -f asker asker2 db2 squatter squatter2"},
			{args: "network rm linked"},
		})
	})
	t.Run("addresses", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "network create --subnet 172.30.0.0/24 --ip-range 172.30.0.128/29 --gateway 172.30.0.254 --aux-address printer=172.30.0.129 plan"},
			{args: "network inspect -f '{{json .IPAM.Config}}' plan", out: `[{"Subnet":"172.30.0.0/24","IPRange":"172.30.0.128/29","Gateway":"172.30.0.254","AuxiliaryAddresses":{"printer":"172.30.0.129"}}]`},
			{args: "run --rm --network plan alpine ip route", out: "default via 172.30.0.254"},
			{args: "run -d --name fixed --network plan --ip 172.30.0.7 --mac-address 02:00:00:00:00:07 alpine sleep 1000"},
			{args: "inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.MacAddress}} {{.Gateway}}{{end}}' fixed", out: "172.30.0.7 02:00:00:00:00:07 172.30.0.254"},
			{args: "run --rm --network plan --ip 172.30.0.7 alpine true", code: 125, err: "Address already in use"},
			{args: "run --rm --network plan --ip 10.1.1.1 alpine true", code: 125, err: "no configured subnet contains IP address 10.1.1.1"},
			{args: "network create --subnet 172.30.0.0/25 overlap", code: 1, err: "Pool overlaps with other one on this address space"},
			{args: "network create --subnet 172.30.1.1/24 bad", code: 1, err: "invalid subnet 172.30.1.1/24: it should be 172.30.1.0/24"},
			{args: "network create --subnet 172.30.1.0/24 --subnet 172.30.2.0/24 two", code: 1, err: "bridge driver doesn't support multiple subnets"},
			{args: "network create --ipv6 --subnet 172.30.3.0/24 --subnet fd00:30::/64 both"},
			{args: "run --rm --network both alpine ip -6 addr show dev eth0", out: "fd00:30::"},
			{args: "network create --ipv6 --subnet 172.30.4.0/24 auto"},
			{args: "network create autos"},
			{args: "run --rm --network autos --ip 10.99.0.9 alpine true", code: 125, err: "no configured subnet contains IP address 10.99.0.9"},
			{args: "run --rm --network auto --ip 172.30.4.9 alpine ip addr", out: "172.30.4.9/24"},
			{args: "run --rm --network auto --ip6 fd99::9 alpine true", code: 125, err: "no configured subnet contains IP address fd99::9"},
			{args: "network connect --ip 10.99.0.9 autos fixed", code: 1, err: "no configured subnet contains IP address 10.99.0.9"},
			{args: "rm -f fixed"},
			{args: "network rm plan both auto autos"},
		})
	})
	t.Run("several", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "network create --subnet 172.31.1.0/24 aaa"},
			{args: "network create --subnet 172.31.2.0/24 bbb"},
			{args: "network create --subnet 172.31.3.0/24 --internal inner"},
			{args: "create --name many --network aaa alpine sleep 1000"},
			{args: "network connect --gw-priority 1 bbb many"},
			{args: "network connect inner many"},
			{args: "start many"},
			{args: "exec many ip route", out: "default via 172.31.2.1"},
			{args: "network disconnect bbb many"},
			{args: "exec many ip route", out: "default via 172.31.1.1"},
			{args: "network connect --driver-opt com.docker.network.endpoint.ifname=wan9 --driver-opt com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1 bbb many"},
			{args: "exec many cat /proc/sys/net/ipv4/conf/wan9/log_martians", out: "1\n"},
			{args: "network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}' inner", out: "many 172.31.3.2/24"},
			{args: "run --rm --network inner alpine ip route", out: "172.31.3.0/24 dev eth0"},
			{args: "network rm inner", code: 1, err: "has active endpoints (name:\"many\""},
			{args: "rm -f many"},
			{args: "network prune -f", out: "Deleted Networks:"},
		})
		if out := m.Must("docker", "network", "ls", "-q", "--filter", "type=custom"); out != "" {
			t.Errorf("after the prune there are still networks: %s", out)
		}
	})
	t.Run("options", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "network create -o com.docker.network.bridge.name=br-own -o com.docker.network.driver.mtu=1400 -o com.docker.network.container_iface_prefix=net -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 own"},
			{args: "run --rm --network host alpine ip link show dev br-own", out: "mtu 1400"},
			{args: "run -d --name own --network own -p 8100:80 nginx"},
			{args: "exec own ip link show dev net0", out: "mtu 1400"},
			{args: "port own", out: "80/tcp -> 127.0.0.1:8100"},
			{args: "network create -o com.docker.network.bridge.enable_icc=false mute"},
			{args: "run -d --name mute1 --network mute nginx"},
			{args: "run --rm --network mute alpine wget -T 1 -qO- http://mute1/", code: 1},
			{args: "network create -o com.docker.network.bridge.inhibit_ipv4=true odd", code: 1, err: "is not supported by the bridge driver"},
			{args: "network create --config-only --subnet 172.31.9.0/24 conf"},
			{args: "network create --config-from conf real"},
			{args: "network inspect -f '{{.ConfigFrom.Network}} {{(index .IPAM.Config 0).Subnet}}' real", out: "conf 172.31.9.0/24"},
			{args: "run --rm --network conf alpine true", code: 125, err: "configuration-only network"},
			{args: "network rm conf", code: 1, err: "in use"},
			{args: "network create -d overlay swarm", code: 1, err: "This node is not a swarm manager"},
			{args: "network create -d weave woven", code: 1, err: "weave"},
		})
		m.Answers("http://127.0.0.1:8100/", "nginx")
		if r := m.Do("", "curl", "-s", "--max-time", "1", "http://"+harness.NodeIP+":8100/"); r.Code == 0 {
			t.Error("a port bound to loopback by an option of its network answers at another address")
		}
		run(t, m, []line{{args: "rm -f own mute1"}, {args: "network rm own mute real"}, {args: "network rm conf"}})
	})
	t.Run("macvlan", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "network create -d macvlan -o parent=uplink --subnet 192.0.2.0/24 --gateway 192.0.2.1 --ip-range 192.0.2.128/25 lan"},
			{args: "run -d --name lan1 --network lan nginx"},
			{args: "run --rm --network lan alpine wget -qO- http://lan1/", out: "nginx"},
			{args: "run --rm --network lan alpine ip route", out: "default via 192.0.2.1"},
			{args: "stats --no-stream --format {{.NetIO}} lan1", out: "/"},
			{args: "network create -d macvlan -o parent=uplink --subnet 192.0.3.0/24 lan2", code: 1, err: "already using parent interface uplink"},
			{args: "network create -d macvlan -o parent=nothing --subnet 192.0.3.0/24 lan2", code: 1, err: "invalid subinterface vlan name nothing"},
			{args: "network create -d macvlan -o macvlan_mode=odd --subnet 192.0.3.0/24 lan2", code: 1, err: "requested macvlan mode 'odd' is not valid"},
			{args: "network create -d macvlan --subnet 192.0.3.0/24 --subnet 192.0.4.0/24 private"},
			{args: "network inspect -f {{.Internal}} private", out: "true"},
			{args: "run -d --name in1 --network private nginx"},
			{args: "run --rm --network private alpine wget -qO- http://in1/", out: "nginx"},
			{args: "rm -f lan1 in1"},
			{args: "network rm lan private"},
		})
	})
	t.Run("ipvlan", func(t *testing.T) {
		m := m.In(t)
		r := m.Do("", "docker", "network", "create", "-d", "ipvlan", "-o", "parent=uplink", "--subnet", "192.0.2.0/24", "near")
		if strings.Contains(r.Stderr, "this kernel has no such kind of link: ipvlan (load its module: modprobe ipvlan)") {
			return // the refusal is what such a kernel has to show
		}
		run(t, m, []line{
			{args: "run -d --name near1 --network near nginx"},
			{args: "run --rm --network near alpine wget -qO- http://near1/", out: "nginx"},
			{args: "rm -f near1"},
			{args: "network rm near"},
		})
	})
	t.Run("ports", func(t *testing.T) {
		m := m.In(t)
		taken := m.Listen("tcp", "127.0.0.1:8200")
		defer taken.Close()
		run(t, m, []line{
			{args: "run -d --name first -p 8201:80 nginx"},
			{args: "run -d --name second -p 8201:80 nginx", code: 125, err: "Bind for 0.0.0.0:8201 failed: port is already allocated"},
			{args: "run -d --name third -p 8200:80 nginx", code: 125, err: "failed to bind host port 0.0.0.0:8200/tcp: address already in use"},
			{args: "run -d --name far -p 203.0.113.9:8200:80 nginx", code: 125, err: "cannot assign requested address"},
			{args: "run -d --name range -p 8201-8203:80 nginx"},
			{args: "port range", out: "80/tcp -> 0.0.0.0:8202"},
			{args: "run -d --name any -p 80 -p 5353:53/udp -p 127.0.0.1::80/tcp nginx"},
			{args: "port any 53/udp", out: "0.0.0.0:5353"},
			{args: "exec first wget -qO- http://" + harness.NodeIP + ":8201/", out: "nginx"},
			{args: "exec range wget -qO- http://" + harness.NodeIP + ":8201/", out: "nginx"},
		})
		m.Answers("http://127.0.0.1:8201/", "nginx")
		run(t, m, []line{{args: "rm -f first second third far range any"}})
	})
	t.Run("firewall", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "network create --subnet 172.31.20.0/24 other"},
			{args: "run -d --name walled -p 8300:80 nginx"},
			{args: "run --rm --network other alpine wget -T 2 -qO- http://" + harness.NodeIP + ":8300/", out: "nginx"},
		})
		// The host's firewall has the last word on what is published.
		m.Must("nft", "add", "table", "inet", "host")
		defer m.Must("nft", "delete", "table", "inet", "host")
		m.Must("nft", "add chain inet host forward { type filter hook forward priority 10; policy accept; }")
		m.Must("nft", "add rule inet host forward meta l4proto tcp ct original proto-dst 8300 drop")
		run(t, m, []line{
			{args: "run --rm --network other alpine wget -T 1 -qO- http://" + harness.NodeIP + ":8300/", code: 1},
		})
		m.Must("nft", "flush", "chain", "inet", "host", "forward")
		run(t, m, []line{
			{args: "run --rm --network other alpine wget -T 2 -qO- http://" + harness.NodeIP + ":8300/", out: "nginx"},
			{args: "rm -f walled"},
			{args: "network rm other"},
		})
	})
}
