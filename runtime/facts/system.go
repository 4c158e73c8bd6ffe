package facts

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	goruntime "runtime"
	"strconv"
	"strings"
)

// basic finds a fact that has no parameter; "" is that there is none.
func basic(key string) (string, error) {
	switch key {
	case "os":
		return goruntime.GOOS, nil
	case "arch":
		return goruntime.GOARCH, nil
	case "hostname":
		return os.Hostname()
	case "kernel":
		return kernel()
	case "distribution":
		id, _, err := distribution()
		return id, err
	case "distribution.version":
		_, version, err := distribution()
		return version, err
	case "cpus":
		n := goruntime.NumCPU()
		if quota := limits(os.DirFS("/")).cpus; quota > 0 {
			n = min(n, max(1, int(math.Ceil(quota))))
		}
		return strconv.Itoa(n), nil
	case "memory":
		n, err := memory()
		if err != nil || n == 0 {
			return "", err
		}
		if limit := limits(os.DirFS("/")).memory; limit > 0 {
			n = min(n, limit)
		}
		return strconv.FormatUint(n, 10), nil
	case "virtual":
		return virtual()
	}
	return "", nil
}

// osRelease reads the fields of /etc/os-release, or of what stands in for it.
func osRelease(root fs.FS) map[string]string {
	text, err := fs.ReadFile(root, "etc/os-release")
	if err != nil {
		text, _ = fs.ReadFile(root, "usr/lib/os-release")
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		fields[name] = value
	}
	return fields
}

// A limit is what a control group grants; 0 is all there is.
type limit struct {
	cpus   float64
	memory uint64
}

// limits reads the version 2 control group of this process and those that
// enclose it. The tightest counts.
func limits(root fs.FS) limit {
	var l limit
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	_, group, ok := strings.Cut(string(groups), "0::/")
	if !ok {
		return l
	}
	group, _, _ = strings.Cut(group, "\n")
	for dir := path.Join("sys/fs/cgroup", group); strings.HasPrefix(dir, "sys/fs/cgroup"); dir = path.Dir(dir) {
		if text, err := fs.ReadFile(root, path.Join(dir, "memory.max")); err == nil {
			if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && (l.memory == 0 || n < l.memory) {
				l.memory = n
			}
		}
		if text, err := fs.ReadFile(root, path.Join(dir, "cpu.max")); err == nil {
			quota, period, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
			q, errQ := strconv.ParseFloat(quota, 64)
			p, errP := strconv.ParseFloat(period, 64)
			if errQ == nil && errP == nil && q > 0 && p > 0 && (l.cpus == 0 || q/p < l.cpus) {
				l.cpus = q / p
			}
		}
	}
	return l
}

// virtualLinux tells what a Linux stands in, the innermost first, from what
// the kernel and the makers of containers leave to be seen.
func virtualLinux(root fs.FS, kernel string) string {
	exists := func(name string) bool {
		_, err := fs.Stat(root, name)
		return err == nil
	}
	text := func(name string) string {
		b, _ := fs.ReadFile(root, name)
		return strings.TrimSpace(string(b))
	}
	switch {
	case exists("var/run/secrets/kubernetes.io") || exists("run/secrets/kubernetes.io"):
		return "kubernetes"
	case exists("run/.containerenv"):
		return "podman"
	case exists(".dockerenv"):
		return "docker"
	}
	if kind := text("run/systemd/container"); kind != "" {
		return kind // such as lxc or systemd-nspawn
	}
	for _, sign := range [...][2]string{{"/kubepods", "kubernetes"}, {"/docker", "docker"}, {"/libpod", "podman"}, {"/lxc", "lxc"}} {
		if strings.Contains(text("proc/1/cgroup"), sign[0]) {
			return sign[1]
		}
	}
	if strings.Contains(strings.ToLower(kernel), "microsoft") {
		return "wsl"
	}
	if text("sys/hypervisor/type") == "xen" {
		return "xen"
	}
	vendor := text("sys/class/dmi/id/sys_vendor") + " " + text("sys/class/dmi/id/product_name") + " " + text("sys/class/dmi/id/bios_vendor")
	for _, sign := range [...][2]string{
		{"Amazon EC2", "ec2"}, {"Google Compute Engine", "gce"}, {"VMware", "vmware"}, {"VirtualBox", "virtualbox"}, {"innotek", "virtualbox"},
		{"Parallels", "parallels"}, {"Xen", "xen"}, {"Virtual Machine", "hyperv"}, {"BHYVE", "bhyve"}, {"KVM", "kvm"}, {"QEMU", "kvm"}, {"Bochs", "kvm"},
	} {
		if strings.Contains(vendor, sign[0]) && !strings.Contains(vendor, ".metal") {
			return sign[1]
		}
	}
	cpuinfo, _ := fs.ReadFile(root, "proc/cpuinfo")
	for lines := bufio.NewScanner(bytes.NewReader(cpuinfo)); lines.Scan(); {
		if name, flags, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "flags" {
			if strings.Contains(flags+" ", " hypervisor ") {
				return "vm"
			}
			break
		}
	}
	return "none"
}
