#!/usr/bin/env pwsh
# Starts everything: web server, worker, a private Redis if REDIS_URL is not set. Ctrl+C stops it all.
# Options: ./start_services.ps1 --help
#
# For Windows PowerShell 5.1 and for PowerShell 7 on Windows, macOS and Linux. The same steps as start_services.sh.
# On Windows the private Redis is a Memurai or redis-server that is installed; without one, set REDIS_URL.

Set-Location -LiteralPath $PSScriptRoot

# Windows PowerShell 5.1 has no $IsWindows.
$onWindows = $env:OS -eq 'Windows_NT'
$venvPython = if ($onWindows) { '.venv\Scripts\python.exe' } else { '.venv/bin/python' }
$isNewEnough = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
$requirements = 'requirements.txt'
$stamp = '.venv/.installed-requirements.txt'

function Stop-Here($Message) {
    [Console]::Error.WriteLine($Message)
    exit 1
}

# $LASTEXITCODE is judged, not stderr: 5.1 takes a redirected line on stderr for a failure.
function Test-Python($Candidate) {
    if (-not (Get-Command $Candidate -CommandType Application -ErrorAction SilentlyContinue)) {
        return $false
    }
    & $Candidate -c $isNewEnough | Out-Null
    return $LASTEXITCODE -eq 0
}

function Find-Python {
    $candidates = @('python3', 'python', 'py', 'python3.14', 'python3.13', 'python3.12', 'python3.11')
    if ($env:PYTHON) {
        $candidates = @($env:PYTHON) + $candidates
    }
    foreach ($candidate in $candidates) {
        if (Test-Python $candidate) {
            return $candidate
        }
    }
    Stop-Here 'Python 3.11 or newer is needed and was not found. Install it, or name one in $env:PYTHON.'
}

function Test-Installed {
    if (-not (Test-Path -LiteralPath $stamp)) {
        return $false
    }
    return (Get-FileHash -LiteralPath $stamp).Hash -eq (Get-FileHash -LiteralPath $requirements).Hash
}

if (-not ((Test-Path -LiteralPath $venvPython) -and (Test-Python $venvPython))) {
    $python = Find-Python
    if (Test-Path -LiteralPath '.venv') {
        Remove-Item -LiteralPath '.venv' -Recurse -Force
    }
    & $python -m venv .venv
    if ($LASTEXITCODE -ne 0) {
        Stop-Here "$python could not make .venv"
    }
}

if (-not (Test-Installed)) {
    Write-Host 'Installing packages (first start, or requirements.txt changed) ...'
    & $venvPython -m pip install --quiet --disable-pip-version-check --no-input -r $requirements
    if ($LASTEXITCODE -ne 0) {
        Stop-Here "The packages of $requirements could not be installed (see above). Run this again to retry."
    }
    Copy-Item -LiteralPath $requirements -Destination $stamp
}

& $venvPython manage.py start_services @args
exit $LASTEXITCODE
