# What is typed is noted in a file that only you can read, by the shell itself: no process is started for it.

_qrec_folder=@FOLDER@ _qrec_about=@ABOUT@ _qrec_typed=@TYPED@ _qrec_options=@OPTIONS@
_qrec_ignore=@IGNORE@ _qrec_record=@RECORD@ _qrec_secrets=@SECRETS@

# Whether _qrec_text may be noted.  A pattern that cannot be understood fits all: better lose a line than tell a secret.
_qrec_may_note() {
    local first own='^([A-Za-z_][A-Za-z_0-9]*=[^[:blank:]]*[[:blank:]]+)*(command[[:blank:]]+)?([^[:blank:]]*/)?qrec([[:space:]]|$)'
    [[ $_qrec_text == [[:blank:]]* || ${#_qrec_text} -gt 32768 ]] && return 1
    [[ $_qrec_text == *qrec* && $_qrec_text =~ $own ]] && return 1
    first=${_qrec_text%%[[:space:]]*}
    [[ -n $first && ${aliases[$first]-} == *qrec* && ${aliases[$first]} =~ $own ]] && return 1
    [[ -n $_qrec_ignore ]] || return 0
    [[ $_qrec_text =~ $_qrec_ignore ]]
    (($? == 1))
}

# Whether _qrec_text smells of a secret, which must not lie in a file for long.
_qrec_smells() {
    case ${(L)_qrec_text} in
        @HINTS@) return 0 ;;
    esac
    [[ -n $_qrec_secrets && $_qrec_text =~ $_qrec_secrets ]]
}

# Make the file, which only you may read, with what stands above its lines.
_qrec_make() {
    (
        umask 077
        [[ -d $_qrec_folder ]] || command mkdir -p -- $_qrec_folder
        [[ ! -O $_qrec_folder ]] || builtin print -r -- $_qrec_head >>$_qrec_file
    )
    [[ -f $_qrec_file ]]
}

# Append a line, or say once that it cannot be done.  It stands between line ends of its own, so that what a full disk
# cuts off spoils no other.
_qrec_note() {
    if [[ -f $_qrec_file ]] || { [[ -z $_qrec_told ]] && _qrec_make }; then
        builtin print -r -- $'\n'"$1"$'\t.' >>$_qrec_file && return
    fi
    [[ -n $_qrec_told ]] || builtin print -r -- "qrec: what you type is not recorded: cannot write in $_qrec_folder" >&3
    _qrec_told=1
}

_qrec_escape() {
    _qrec_escaped=$1
    [[ $1 == *[$'\\\n\t\0']* ]] || return 0
    _qrec_escaped=${1//\\/\\\\}
    _qrec_escaped=${_qrec_escaped//$'\n'/\\n}
    _qrec_escaped=${_qrec_escaped//$'\t'/\\t}
    _qrec_escaped=${_qrec_escaped//$'\0'/\\0}
}

# Note that the command _qrec_text begins.
_qrec_note_start() {
    local folder
    _qrec_escape "$_qrec_pwd"
    folder=$_qrec_escaped
    _qrec_escape "$_qrec_text"
    _qrec_note "S"$'\t'"$_qrec_count"$'\t'"$_qrec_start"$'\t'"$folder"$'\t'"$_qrec_escaped"
    _qrec_noted=1
}

# Whether a line is one command or pipeline, of which all is read by now, and its first word just the name of a program.
_qrec_is_simple() {
    local rest=$1 bare= words quoted word
    words='^([A-Za-z_][A-Za-z_0-9]*=[A-Za-z_0-9./:,@%+-]*[[:blank:]]+)*([A-Za-z0-9_.+-]+)([[:blank:]]|$)'
    quoted='^([^"'\''\]*)('\''[^'\'']*'\''|"([^"\`$]|\$[A-Za-z_{]|\\.)*"|\\.)(.*)$'
    [[ $rest =~ $words ]] || return
    word=$match[2]
    while [[ $rest =~ $quoted ]]; do
        bare+=$match[1]x rest=$match[4]
    done
    bare+=$rest bare=${bare//'>&'[0-9]/} bare=${bare//'&>'/}
    [[ $bare == *[\;\&\(\)\`\"\'\\$'\n']* || $bare == *'<<'* || $bare == *'||'* ]] && return 1
    [[ $bare =~ '\|[[:blank:]]*$' || $1 == *!* ]] && return 1
    (($+aliases[$word] || $+galiases[$word] || $+functions[$word] || $+builtins[$word])) && return 1
    [[ -z ${(M)reswords:#$word} ]] && (($+commands[$word] && $+commands[qrec])) && _qrec_word=$word
}

_qrec_unalias() {
    [[ -z $_qrec_alias ]] || builtin unalias -- $_qrec_alias
    _qrec_alias=
}

# As a line has been read, and before the shell makes sense of it.  To be recorded whole, its program stands for
# `qrec run` of it; the history has it as it was typed.
_qrec_line() {
    emulate -L zsh
    unsetopt xtrace
    [[ $CONTEXT == (start|cont) ]] || return 0
    _qrec_unalias
    _qrec_text=$PREBUFFER$BUFFER
    [[ -n $_qrec_record && $CONTEXT == start && $BUFFER =~ $_qrec_record ]] || return 0
    if _qrec_may_note && _qrec_is_simple $BUFFER; then
        builtin alias -- "$_qrec_word=command qrec$_qrec_options run -q -- $_qrec_word" && _qrec_alias=$_qrec_word
    fi 2>/dev/null
    return 0
}

# Before a command begins; $1 is what the history has of it, nothing if it keeps it out.
_qrec_preexec() {
    emulate -L zsh
    unsetopt xtrace
    local upgraded=$_qrec_alias
    _qrec_unalias
    # A line with `!` is known only now; and what another widget has hidden from us only by the history.
    [[ -z $_qrec_text || ($_qrec_text == *!* && -n $1) ]] && _qrec_text=$1
    _qrec_text=${_qrec_text%$'\n'} _qrec_wanted= _qrec_noted=
    [[ -n $_qrec_typed && -z $upgraded && -n $_qrec_text ]] || return 0
    {
        if _qrec_may_note; then
            ((_qrec_count += 1))
            _qrec_wanted=1 _qrec_start=${${EPOCHREALTIME/./}[1,16]} _qrec_pwd=$PWD
            # A secret had better not be there as long as the command runs.
            _qrec_smelly=
            _qrec_smells && _qrec_smelly=1
            [[ -n $_qrec_smelly ]] || _qrec_note_start
        fi
    } 3>&2 2>/dev/null
    return 0
}

# Before each prompt.  qrec takes out secrets as it takes the lines in: with one there, that is now.
_qrec_precmd() {
    local code=$?
    emulate -L zsh
    unsetopt xtrace
    _qrec_unalias
    if [[ -n $_qrec_wanted ]]; then
        [[ -n $_qrec_noted ]] || _qrec_note_start
        _qrec_note "E"$'\t'"$_qrec_count"$'\t'"${${EPOCHREALTIME/./}[1,16]}"$'\t'"$code"
        [[ -n $_qrec_smelly ]] && (command qrec@OPTIONS_PLAIN@ ls -n 1 </dev/null >/dev/null 2>&1 3>&- &)
    fi 3>&2 2>/dev/null
    _qrec_text= _qrec_wanted=
    return 0
}

# Say where this shell's lines go, and what stands above them.
_qrec_begin() {
    emulate -L zsh
    local stat boot now=${${EPOCHREALTIME/./}[1,16]}
    [[ -r /proc/$$/stat ]] && read -r stat </proc/$$/stat
    [[ -r /proc/sys/kernel/random/boot_id ]] && read -r boot </proc/sys/kernel/random/boot_id
    local fields=(${(s: :)stat##*\) })
    fields=(qrec-typed 1 0000000000 zsh "$HOST" $$ ${fields[20]-0} "$boot" $now "$_qrec_about" .)
    typeset -g _qrec_file=$_qrec_folder/${HOST//\//_}.$$.$now _qrec_head=${(pj:\t:)fields} _qrec_shell=$$
    typeset -g _qrec_text= _qrec_wanted= _qrec_noted= _qrec_alias= _qrec_told= _qrec_word= _qrec_escaped=
    typeset -g _qrec_start= _qrec_pwd= _qrec_smelly=
    typeset -gi _qrec_count=0
}

if [[ -o interactive && ${TERM-} != dumb ]] && zmodload zsh/datetime zsh/parameter 2>/dev/null; then
    [[ ${_qrec_shell-} == $$ ]] || _qrec_begin
    [[ -z $_qrec_typed || -f $_qrec_file ]] || _qrec_make 2>/dev/null
    autoload -Uz add-zsh-hook add-zle-hook-widget
    add-zsh-hook preexec _qrec_preexec
    add-zsh-hook precmd _qrec_precmd
    add-zle-hook-widget line-finish _qrec_line
fi
