package child

import (
	"os"
	"os/exec"
	"unsafe"

	"golang.org/x/sys/windows"
)

// shell runs a line of text.
var shell = []string{"cmd.exe", "/C"}

// passedOn are the signals that the command's console has given to the command,
// too.
var passedOn = []os.Signal{os.Interrupt}

// process is a command and its job object, which has all that the command
// starts. It ends with the last handle: with us.
type process struct {
	job      windows.Handle
	ended    chan struct{}
	status   int // set before ended is closed
	signaled bool
}

func start(cmd *exec.Cmd) (*process, error) {
	job, err := newJob()
	if err != nil {
		return nil, os.NewSyscallError("CreateJobObject", err)
	}
	p := &process{job: job, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		p.close()
		return nil, err
	}
	if err := p.add(uint32(cmd.Process.Pid)); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		p.close()
		return nil, os.NewSyscallError("AssignProcessToJobObject", err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait()
		p.status = cmd.ProcessState.ExitCode()
	}()
	return p, nil
}

// newJob returns a job whose processes end with its last handle.
func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, err
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		_ = windows.CloseHandle(job)
	}
	return job, err
}

func (p *process) add(pid uint32) error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, pid)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return windows.AssignProcessToJobObject(p.job, h)
}

// pass has nothing to do: the console has told the command. It reports that the
// signal is one that ends.
func (p *process) pass(os.Signal) bool { return true }

// terminate ends the job: there is no way to ask.
func (p *process) terminate() { p.kill() }

func (p *process) kill() { _ = windows.TerminateJobObject(p.job, 1) }

// empty reports that nothing is left: the rest of the job ends in close.
func (p *process) empty() bool { return true }

func (p *process) close() { _ = windows.CloseHandle(p.job) }
