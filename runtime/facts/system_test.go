package facts

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// tree makes a file system of pairs of name and text.
func tree(pairs ...string) fstest.MapFS {
	root := fstest.MapFS{}
	for i := 0; i+1 < len(pairs); i += 2 {
		root[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return root
}

func TestOSRelease(t *testing.T) {
	const debian = "# about\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n\nBROKEN\n"
	for name, root := range map[string]fstest.MapFS{
		"in its place": tree("etc/os-release", debian, "usr/lib/os-release", "ID=other"),
		"by the maker": tree("usr/lib/os-release", strings.ReplaceAll(debian, `"`, `'`)),
	} {
		t.Run(name, func(t *testing.T) {
			fields := osRelease(root)
			require.Equal(t, "debian", fields["ID"])
			require.Equal(t, "12", fields["VERSION_ID"])
		})
	}
	require.Empty(t, osRelease(tree()))
}

func TestLimits(t *testing.T) {
	for name, test := range map[string]struct {
		root fstest.MapFS
		want limit
	}{
		"no control groups": {tree(), limit{}},
		"version 1":         {tree("proc/self/cgroup", "4:memory:/docker/x\n", "sys/fs/cgroup/memory.max", "5\n"), limit{}},
		"no limit":          {tree("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "max\n", "sys/fs/cgroup/cpu.max", "max 100000\n"), limit{}},
		"a container's own": {tree("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1024\n", "sys/fs/cgroup/cpu.max", "150000 100000\n"), limit{cpus: 1.5, memory: 1024}},
		"the tightest": {tree("proc/self/cgroup", "1:x:/y\n0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "2048\n", "sys/fs/cgroup/a/memory.max", "1024\n",
			"sys/fs/cgroup/a/b/cpu.max", "100000 100000", "sys/fs/cgroup/a/cpu.max", "400000 100000"), limit{cpus: 1, memory: 1024}},
		"odd":     {tree("proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", "lots\n", "sys/fs/cgroup/a/cpu.max", "1 0"), limit{}},
		"outside": {tree("proc/self/cgroup", "0::/../../x\n", "sys/x/memory.max", "1\n"), limit{}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, limits(test.root)) })
	}
}

func TestVirtual(t *testing.T) {
	const dmi = "sys/class/dmi/id/"
	for name, test := range map[string]struct {
		root   fstest.MapFS
		kernel string
		want   string
	}{
		"none":           {tree(dmi+"sys_vendor", "LENOVO\n", "proc/cpuinfo", "processor : 0\nflags : fpu vme\n"), "6.1.0", "none"},
		"docker":         {tree(".dockerenv", ""), "6.1.0", "docker"},
		"podman":         {tree("run/.containerenv", "", ".dockerenv", ""), "6.1.0", "podman"},
		"kubernetes":     {tree("var/run/secrets/kubernetes.io/serviceaccount/token", "x", ".dockerenv", ""), "6.1.0", "kubernetes"},
		"systemd-nspawn": {tree("run/systemd/container", "systemd-nspawn\n"), "6.1.0", "systemd-nspawn"},
		"by its group":   {tree("proc/1/cgroup", "1:cpu:/lxc/a\n"), "6.1.0", "lxc"},
		"wsl":            {tree(), "5.15.90.1-microsoft-standard-WSL2", "wsl"},
		"kvm":            {tree(dmi+"sys_vendor", "QEMU\n"), "6.1.0", "kvm"},
		"ec2":            {tree(dmi+"sys_vendor", "Amazon EC2\n", dmi+"product_name", "m5.large\n"), "6.1.0", "ec2"},
		"ec2, no vm":     {tree(dmi+"sys_vendor", "Amazon EC2\n", dmi+"product_name", "m5.metal\n"), "6.1.0", "none"},
		"hyperv":         {tree(dmi+"sys_vendor", "Microsoft Corporation", dmi+"product_name", "Virtual Machine"), "6.1.0", "hyperv"},
		"xen":            {tree("sys/hypervisor/type", "xen\n"), "6.1.0", "xen"},
		"some vm":        {tree("proc/cpuinfo", "flags\t\t: fpu hypervisor\n"), "6.1.0", "vm"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, virtualLinux(test.root, test.kernel)) })
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]string{
		"go version go1.26.8 linux/amd64":           "1.26.8",
		"git version 2.39.5 (Apple Git-154)":        "2.39.5",
		"Docker version 25.0.0-rc.1, build 615dfdf": "25.0.0-rc.1",
		"v20.11.0\n":                                         "20.11.0",
		"Python 3.13.0a2":                                    "3.13.0",
		"openjdk version \"1.8.0_392\"":                      "1.8.0_392",
		"gcc (Debian 12.2.0-14) 12.2.0":                      "12.2.0",
		"GNU Make 4.3\nBuilt for x86_64":                     "4.3",
		"OpenSSH_9.2p1 Debian-2+deb12u2, OpenSSL 3.0.11":     "9.2p1",
		"Apache Maven 3.9.6 (bc0240f3c744dd)":                "3.9.6",
		"Client Version: v1.28.2\nKustomize Version: v5.0.4": "1.28.2",
		"This is perl 5, version 36, subversion 0 (v5.36.0)": "5.36.0",
		"less 590 (GNU regular expressions)":                 "590",
		"systemd 252 (252.22-1~deb12u1)":                     "252.22",
		"unknown option --version\n":                         "",
		"":                                                   "",
		"\nCopyright 1990\nno":                               "1990",
		"rustc 1.77.0-nightly (d78329b92 2024-01-13)":        "1.77.0",
		"libprotoc 3.21.12":                                  "3.21.12",
		"ruby 3.1.2p20 (2022-04-12 revision 4491bb740a)":     "3.1.2p20",
	} {
		require.Equal(t, want, parseVersion(text), "%q", text)
	}
}

// Tools are searched by halves.
func TestToolsAreSorted(t *testing.T) {
	require.True(t, slices.IsSortedFunc(tools[:], func(a, b tool) int { return strings.Compare(a.name, b.name) }))
}
